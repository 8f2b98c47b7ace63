-- The whole queue: what was asked for, each transition, what runs, what was learned. Times are wall-clock
-- seconds, for display and retention only; order comes from `seq`. The `node` column and opaque text ids are
-- there from the first version on, so that a queue shared by machines needs no new keys.

-- Who may write. Every write names the epoch it was made under; a takeover moves it on and so shuts out
-- a process that still believes it is the owner.
CREATE TABLE owner (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch INTEGER NOT NULL,
    pid INTEGER,
    node TEXT NOT NULL,
    taken_at REAL
) STRICT;
INSERT INTO owner (only_row, epoch, node) VALUES (1, 0, 'local');

CREATE TABLE gpu_work_items (
    -- AUTOINCREMENT: a place in line is never given out twice, not even after its row was pruned.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    node TEXT NOT NULL,
    runtime TEXT NOT NULL,
    alias TEXT NOT NULL,
    path TEXT NOT NULL,
    owner TEXT NOT NULL,
    surface TEXT NOT NULL,
    durability TEXT NOT NULL CHECK (durability IN ('connection', 'stored')),
    priority INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    reason TEXT NOT NULL,
    changed_at REAL NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    cancel_requested_at REAL,
    lease TEXT,
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    max_attempts INTEGER NOT NULL DEFAULT 1 CHECK (max_attempts >= 1),
    max_queue_wait_s REAL,
    run_timeout_s REAL,
    idempotency_key TEXT,
    body_hash TEXT,
    code TEXT,
    message TEXT,
    queue_ms INTEGER,
    load_ms INTEGER,
    first_token_ms INTEGER,
    prompt_tokens INTEGER,
    output_tokens INTEGER,
    CONSTRAINT terminal_has_an_end CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    CONSTRAINT running_is_leased CHECK ((state = 'running') = (lease IS NOT NULL)),
    CONSTRAINT running_has_started CHECK (state <> 'running' OR (started_at IS NOT NULL AND attempts >= 1)),
    CONSTRAINT queued_has_not_started CHECK (state <> 'queued' OR started_at IS NULL),
    CONSTRAINT succeeded_has_run CHECK (state <> 'succeeded' OR started_at IS NOT NULL),
    CONSTRAINT failed_says_why CHECK (state <> 'failed' OR code IS NOT NULL)
) STRICT;

-- Each finished row is in no live index, and each live row is in no finished one: what is waiting is found
-- at the same speed whatever the history holds.
CREATE INDEX live_work ON gpu_work_items (seq) WHERE ended_at IS NULL;
CREATE INDEX ended_work ON gpu_work_items (state, seq) WHERE ended_at IS NOT NULL;
CREATE INDEX ended_work_of_owner ON gpu_work_items (owner, state, seq) WHERE ended_at IS NOT NULL;
CREATE INDEX ended_work_by_age ON gpu_work_items (ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX one_stored_item_a_key ON gpu_work_items (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL AND durability = 'stored';

-- One row a transition, written by the triggers below, so that no path can forget it. Clustered by item.
CREATE TABLE work_events (
    work_seq INTEGER NOT NULL REFERENCES gpu_work_items (seq) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    at REAL NOT NULL,
    before TEXT,
    after TEXT NOT NULL,
    reason TEXT NOT NULL,
    code TEXT,
    PRIMARY KEY (work_seq, n),
    CONSTRAINT legal_transition CHECK (
        (before IS NULL AND after = 'queued')
        OR (before = 'queued' AND after IN ('running', 'failed', 'cancelled'))
        OR (before = 'running' AND after IN ('succeeded', 'failed', 'cancelled', 'queued'))
    )
) STRICT, WITHOUT ROWID;

CREATE TABLE tallies (
    day TEXT NOT NULL,
    kind TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (day, kind)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER work_was_admitted AFTER INSERT ON gpu_work_items
BEGIN
    INSERT INTO work_events (work_seq, n, at, before, after, reason)
    VALUES (NEW.seq, 1, NEW.changed_at, NULL, NEW.state, NEW.reason);
END;

CREATE TRIGGER work_changed_state AFTER UPDATE OF state ON gpu_work_items WHEN NEW.state <> OLD.state
BEGIN
    INSERT INTO work_events (work_seq, n, at, before, after, reason, code)
    VALUES (
        NEW.seq,
        1 + (SELECT max(n) FROM work_events WHERE work_seq = NEW.seq),
        NEW.changed_at, OLD.state, NEW.state, NEW.reason, NEW.code
    );
END;

CREATE TRIGGER work_ended AFTER UPDATE OF state ON gpu_work_items
    WHEN NEW.ended_at IS NOT NULL AND OLD.ended_at IS NULL
BEGIN
    INSERT INTO tallies (day, kind, n)
    VALUES (date(NEW.ended_at, 'unixepoch', 'localtime'), NEW.state, 1)
    ON CONFLICT (day, kind) DO UPDATE SET n = n + 1;
END;

-- Bodies and results apart from the rows, so that lists stay narrow and retention can drop them first.
CREATE TABLE bodies (
    work_seq INTEGER PRIMARY KEY REFERENCES gpu_work_items (seq) ON DELETE CASCADE,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE results (
    work_seq INTEGER PRIMARY KEY REFERENCES gpu_work_items (seq) ON DELETE CASCADE,
    content BLOB NOT NULL,
    content_type TEXT NOT NULL,
    truncated INTEGER NOT NULL CHECK (truncated IN (0, 1))
) STRICT;

-- What is known of each engine over a restart of ours. A process is known whole or not at all.
CREATE TABLE runtimes (
    runtime TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('unknown', 'stopped', 'starting', 'ready', 'draining', 'stopping', 'settling')
    ),
    changed_at REAL NOT NULL,
    pid INTEGER,
    start_ticks INTEGER,
    port INTEGER,
    nonce TEXT,
    failures INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER,
    failure_class TEXT,
    failed_at REAL,
    CONSTRAINT process_is_whole CHECK (
        (pid IS NULL) = (start_ticks IS NULL) AND (pid IS NULL) = (port IS NULL) AND (pid IS NULL) = (nonce IS NULL)
    ),
    CONSTRAINT stopped_has_no_process CHECK (state <> 'stopped' OR pid IS NULL)
) STRICT;

CREATE TABLE runtime_events (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    runtime TEXT NOT NULL,
    node TEXT NOT NULL,
    at REAL NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    reason TEXT NOT NULL,
    exit_code INTEGER,
    failure_class TEXT
) STRICT;

CREATE TRIGGER runtime_was_swapped_out AFTER INSERT ON runtime_events
    WHEN NEW.after = 'stopping' AND NEW.reason LIKE 'swap%'
BEGIN
    INSERT INTO tallies (day, kind, n) VALUES (date(NEW.at, 'unixepoch', 'localtime'), 'swap', 1)
    ON CONFLICT (day, kind) DO UPDATE SET n = n + 1;
END;

-- The last few samples of each kind; `slot` goes round, so the table never grows.
CREATE TABLE learned (
    runtime TEXT NOT NULL,
    kind TEXT NOT NULL,
    device TEXT NOT NULL,
    slot INTEGER NOT NULL,
    n INTEGER NOT NULL,
    value REAL NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (runtime, kind, device, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
