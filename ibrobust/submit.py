"""`python -m ibrobust.submit`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.submit")
else:
    from ibrobust.commands.submit import main  # noqa: F401
