"""`python -m ibrobust.export`."""

from ibrobust.commands.export import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
