"""`python -m rtdecode`."""

from rtdecode.cli import main

if __name__ == "__main__":
    main()
