"""The PostgreSQL tests need the extra [postgres]; without it they are not even collected.

They are marked ``extras``: ``make test`` leaves them out anyway, and ``make test-extras``
installs every extra first.
"""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("psycopg") else ["test_postgres_*.py"]
