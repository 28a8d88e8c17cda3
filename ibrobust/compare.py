"""`python -m ibrobust.compare`."""

from ibrobust.commands.compare import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
