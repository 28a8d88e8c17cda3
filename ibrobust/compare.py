"""`python -m ibrobust.compare`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.compare")
else:
    from ibrobust.commands.compare import main  # noqa: F401
