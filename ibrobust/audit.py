"""`python -m ibrobust.audit`."""

from ibrobust.commands.audit import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
