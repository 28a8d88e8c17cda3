"""`python -m ibrobust.certify`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.certify")
else:
    from ibrobust.commands.certify import main  # noqa: F401
