"""How writers of PostgreSQL take turns: one at a time, or beside others of their kind."""

import sqlalchemy as sa

BUSY_S = 30
"""How long a writer waits for its turn before it gives up."""

# One round trip: how durable, how patient, then the turn. A server set to asynchronous commits
# does not make an acknowledged event less durable; one set to wait for replicas still does.
TURN = sa.text(
    "SELECT set_config('synchronous_commit', CASE WHEN :bulk THEN 'off'"
    " WHEN current_setting('synchronous_commit') = 'off' THEN 'on'"
    " ELSE current_setting('synchronous_commit') END, true),"
    " set_config('lock_timeout', :patience, true),"
    " pg_advisory_xact_lock(hashtextextended('lifeloop ' || current_schema(), 0))"
)
SHARED_TURN = f"""SELECT set_config('synchronous_commit', CASE
  WHEN current_setting('synchronous_commit') = 'off' THEN 'on'
  ELSE current_setting('synchronous_commit') END, true),
  set_config('lock_timeout', '{BUSY_S}s', true),
  pg_advisory_xact_lock_shared(hashtextextended('lifeloop ' || current_schema(), 0))""".encode()
