"""`python -m ibrobust.evaluate`."""

from ibrobust.commands.evaluate import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
