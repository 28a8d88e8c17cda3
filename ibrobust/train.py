"""`python -m ibrobust.train`."""

if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("ibrobust.commands.train")
else:
    from ibrobust.commands.train import main  # noqa: F401
