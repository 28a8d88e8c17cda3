"""`python -m ibrobust.information`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.information")
else:
    from ibrobust.commands.information import main  # noqa: F401
