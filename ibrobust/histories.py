"""`python -m ibrobust.histories`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.histories")
else:
    from ibrobust.commands.histories import main  # noqa: F401
