"""`python -m metergate` is the command `metergate`."""

from metergate.cli import main

if __name__ == "__main__":
    main()
