"""`python -m ibrobust.certify`."""

from ibrobust.commands.certify import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
