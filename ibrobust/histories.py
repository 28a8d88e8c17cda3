"""`python -m ibrobust.histories`."""

from ibrobust.commands.histories import main

if __name__ == "__main__":
    from ibrobust.commands.command_line import run

    run(main)
