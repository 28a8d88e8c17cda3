"""`python -m ibrobust.export`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.export")
else:
    from ibrobust.commands.export import main  # noqa: F401
