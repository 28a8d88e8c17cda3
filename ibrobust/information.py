"""`python -m ibrobust.information`."""

from ibrobust.commands.information import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
