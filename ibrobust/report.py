"""`python -m ibrobust.report`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.report")
else:
    from ibrobust.commands.report import main  # noqa: F401
