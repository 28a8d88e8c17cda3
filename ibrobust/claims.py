"""`python -m ibrobust.claims`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.claims")
else:
    from ibrobust.commands.claims import main  # noqa: F401
