"""`python -m polyforge`: the same as the command `polyforge`."""

from polyforge.cli.main import main

if __name__ == "__main__":
    main()
