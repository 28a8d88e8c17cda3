"""`python -m ibrobust.report`."""

from ibrobust.commands.report import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
