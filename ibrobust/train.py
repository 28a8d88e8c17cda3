"""`python -m ibrobust.train`."""

from ibrobust.commands.train import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
