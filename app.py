"""The app's entry, for `make run`, a container and a Hugging Face Space."""

import sys

from crossviz.errors import CrossvizError
from crossviz.web.app import serve


def main() -> None:
    """Serve as the environment variables say; docs/deploy.md lists them."""
    try:
        serve()
    except CrossvizError as error:
        sys.exit(f"crossviz: {error}")
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
