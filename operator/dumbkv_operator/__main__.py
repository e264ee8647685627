"""`python -m dumbkv_operator`: the same as the command `dumbkv-operator`."""

from dumbkv_operator.cli import main

if __name__ == "__main__":
    main()
