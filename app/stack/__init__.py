"""One machine, real parts: embedded Postgres and Redis, and the supervisor over all parts."""
