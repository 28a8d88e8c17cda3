"""`python -m ibrobust.evaluate`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.evaluate")
else:
    from ibrobust.commands.evaluate import main  # noqa: F401
