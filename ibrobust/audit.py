"""`python -m ibrobust.audit`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.audit")
else:
    from ibrobust.commands.audit import main  # noqa: F401
