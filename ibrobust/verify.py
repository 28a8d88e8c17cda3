"""`python -m ibrobust.verify`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.verify")
else:
    from ibrobust.commands.verify import main  # noqa: F401
