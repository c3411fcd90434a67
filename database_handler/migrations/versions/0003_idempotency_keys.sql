-- 0003_idempotency_keys
-- Units of work that take effect once, however often they are sent: db.run(..., idempotency_key=).
-- migrate: up
CREATE TABLE database_handler_keys (
    key text NOT NULL,
    result text,
    created_at timestamptz NOT NULL,
    CONSTRAINT database_handler_keys_pkey PRIMARY KEY (key),
    CONSTRAINT database_handler_keys_key_check CHECK (octet_length(key) BETWEEN 1 AND 200)
);
CREATE INDEX database_handler_keys_created_at_idx ON database_handler_keys (created_at);

-- migrate: down
-- lint: allow drop-data because the keys only keep units from being done twice, and the release before has none
DROP TABLE database_handler_keys;
