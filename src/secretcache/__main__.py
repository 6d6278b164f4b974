"""`python -m secretcache`: the same as the command `secretcache`."""

from secretcache._cli import main

if __name__ == "__main__":
    main()
