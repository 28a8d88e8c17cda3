"""`python -m ibrobust.accept`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.accept")
else:
    from ibrobust.commands.accept import main  # noqa: F401
