"""`python -m ibrobust.verify`."""

from ibrobust.commands.verify import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
