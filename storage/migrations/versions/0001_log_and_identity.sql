-- The log, its projections, identity. Every key begins with workspace_id, so that tenants can be spread over databases.

CREATE TABLE instance (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    system_identifier text NOT NULL,
    timeline_id bigint NOT NULL
);
COMMENT ON TABLE instance IS 'Which PostgreSQL history the epochs were made for.';

CREATE TABLE workspaces (
    id uuid PRIMARY KEY,
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name text NOT NULL,
    epoch text NOT NULL,
    floor bigint NOT NULL DEFAULT 0,
    rights_version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workspace_heads (
    workspace_id uuid PRIMARY KEY REFERENCES workspaces ON DELETE CASCADE,
    head bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
COMMENT ON TABLE workspace_heads IS 'The hot row: locked from the append until COMMIT, so that positions become visible in order.';

CREATE TABLE streams (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    head bigint NOT NULL DEFAULT 0,
    state_version bigint NOT NULL DEFAULT 0,
    closed boolean NOT NULL DEFAULT false,
    at timestamptz,
    counts json NOT NULL DEFAULT '{}',
    crew_id uuid,
    team_id uuid,
    PRIMARY KEY (workspace_id, id)
) WITH (fillfactor = 50);
COMMENT ON TABLE streams IS 'One row for each mission, and one (id = workspace_id) for what happens outside missions.';

CREATE TABLE missions (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    phase text NOT NULL,
    title text,
    crew_id uuid,
    parent_id uuid,
    run_id uuid,
    queued integer NOT NULL DEFAULT 0,
    state_version bigint NOT NULL,
    state json NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_second timestamptz NOT NULL
        GENERATED ALWAYS AS (date_bin('1 second', updated_at, timestamptz '2000-01-01 00:00:00+00')) STORED,
    deleted_at timestamptz,
    erased boolean NOT NULL DEFAULT false,
    PRIMARY KEY (workspace_id, id)
) WITH (fillfactor = 50);
COMMENT ON COLUMN missions.updated_second IS
    'updated_at to the second. Indexed in its place, so that a busy mission touches its indexes once a second (HOT).';
CREATE INDEX missions_listed ON missions (workspace_id, updated_second DESC) WHERE deleted_at IS NULL;
CREATE INDEX missions_children ON missions (workspace_id, parent_id, created_at) WHERE parent_id IS NOT NULL;
CREATE INDEX missions_busy ON missions (workspace_id, id) WHERE run_id IS NOT NULL OR queued > 0;
CREATE INDEX missions_of_workspace ON missions (workspace_id, created_at DESC, id DESC)
    WHERE kind = 'crew' AND deleted_at IS NULL;
CREATE INDEX missions_of_crew ON missions (workspace_id, crew_id, created_at DESC, id DESC)
    WHERE kind = 'crew' AND deleted_at IS NULL;
CREATE INDEX missions_erasable ON missions (deleted_at) WHERE deleted_at IS NOT NULL AND NOT erased;

CREATE TABLE tasks (
    workspace_id uuid NOT NULL,
    mission_id uuid NOT NULL,
    id uuid NOT NULL,
    status text NOT NULL,
    number integer NOT NULL,
    agent_id uuid,
    run_id uuid,
    token_count bigint,
    estimated_cost double precision,
    state json NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    completed_at timestamptz,
    PRIMARY KEY (workspace_id, mission_id, id)
) WITH (fillfactor = 80);
CREATE INDEX tasks_completed ON tasks (workspace_id, completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX tasks_failed ON tasks (workspace_id, updated_at) WHERE status = 'FAILED';
CREATE INDEX tasks_running ON tasks (workspace_id, run_id) WHERE run_id IS NOT NULL;
CREATE INDEX tasks_worked ON tasks (workspace_id, ((state ->> 'run_agent_id')::uuid)) WHERE run_id IS NOT NULL;
COMMENT ON TABLE tasks IS 'The parts of states that grow with the work: saved by row, each when it changes.';

CREATE TABLE checkpoints (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    mission_id uuid NOT NULL,
    label text,
    position bigint NOT NULL,
    pending_tasks uuid[] NOT NULL,
    open_assignments uuid[] NOT NULL,
    fork_of uuid,
    created_by text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT checkpoints_fork_of FOREIGN KEY (workspace_id, fork_of) REFERENCES checkpoints ON DELETE SET NULL (fork_of)
);
CREATE INDEX checkpoints_listed ON checkpoints (workspace_id, mission_id, created_at DESC, id DESC);
CREATE INDEX checkpoints_forks ON checkpoints (workspace_id, fork_of) WHERE fork_of IS NOT NULL;
COMMENT ON TABLE checkpoints IS 'Bookmarks of missions: a position of the log, and what was open there.';

CREATE TABLE events (
    workspace_id uuid NOT NULL,
    position bigint NOT NULL,
    stream_id uuid NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    at timestamptz NOT NULL,
    actor text,
    crew_id uuid,
    team_id uuid,
    event_id text,
    tool_call_id text,
    tool_name text,
    dedupe_key text,
    content text NOT NULL,
    metadata json NOT NULL,
    PRIMARY KEY (workspace_id, stream_id, sequence),
    UNIQUE (workspace_id, position)
);
CREATE UNIQUE INDEX events_once ON events (workspace_id, stream_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX events_of_crew ON events (workspace_id, crew_id, position) WHERE crew_id IS NOT NULL;
CREATE INDEX events_of_team ON events (workspace_id, team_id, position) WHERE team_id IS NOT NULL;
CREATE INDEX events_conversation ON events (workspace_id, stream_id, sequence)
    WHERE type IN ('user_message', 'assistant_message', 'assistant_message_canonical');
CREATE INDEX events_question ON events (workspace_id, tool_call_id)
    WHERE type = 'tool_call' AND (tool_name IN ('question', 'AskUserQuestion') OR tool_name LIKE 'ui\_%');

-- The types of events that may be entries of crew's journal; few beside the activity of agents.
CREATE FUNCTION is_journal_event(type text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN type IN ('mission_status_changed', 'mission_deleted', 'mission_waiting', 'task_status_changed', 'tasks_reset', 'task_waiting',
                'run_started', 'run_ended', 'review_recorded', 'confidence_low', 'checkpoint_created', 'checkpoint_restored', 'fork_created',
                'crew.created', 'crew.updated', 'crew.deleted', 'agent.created', 'agent.updated', 'agent.deleted');

-- What decides which entry an event is: its type, and two words of its metadata, as `type/why/what`.
CREATE FUNCTION journal_facet(type text, metadata json) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN type || '/' || coalesce(metadata ->> 'cause', metadata ->> 'purpose', metadata ->> 'kind', '')
            || '/' || coalesce(metadata ->> 'status', metadata ->> 'reason', '');

-- Whether such an event is an entry that somebody wants: its facet is like one of `facets` and like none of `but`; it is
-- of one of the crews, of one of the agents, of a run, not after `until` (to the millisecond), has a text like `words`,
-- and was written by one of the `authors` (agent, user), or by nobody and its facet is like one of `unsigned`. Null asks nothing.
CREATE FUNCTION journal_matches(
    e events, facets text[], but text[], crews uuid[], agents text[], run text, until timestamptz, words text, authors text[],
    unsigned text[]
) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN (e.crew_id IS NOT NULL OR e.stream_id = e.workspace_id)
    AND journal_facet(e.type, e.metadata) LIKE ANY(facets)
    AND NOT journal_facet(e.type, e.metadata) LIKE ANY(but)
    AND (crews IS NULL OR e.crew_id = ANY(crews))
    AND (agents IS NULL OR coalesce(e.metadata ->> 'agent_id', e.metadata -> 'fields' ->> 'agent_id') = ANY(agents))
    AND (run IS NULL OR coalesce(e.metadata ->> 'run_id', e.metadata -> 'fields' ->> 'run_id') = run)
    AND (until IS NULL OR date_trunc('milliseconds', e.at) <= until)
    AND (words IS NULL OR e.content ILIKE words OR e.metadata::jsonb::text ILIKE words)
    AND (authors IS NULL
         OR CASE WHEN e.actor IS NULL THEN journal_facet(e.type, e.metadata) LIKE ANY(unsigned)
                 ELSE CASE WHEN e.actor LIKE 'agent:%' THEN 'agent' ELSE 'user' END = ANY(authors) END);

-- The first moment that is after another one by the clock of entries, which has milliseconds.
CREATE FUNCTION after_moment(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN date_trunc('milliseconds', moment) + interval '1 millisecond';

CREATE INDEX events_journal ON events (workspace_id, position) WHERE is_journal_event(type);
CREATE INDEX events_journal_of_stream ON events (workspace_id, stream_id, position) WHERE is_journal_event(type);

CREATE TABLE answers (
    workspace_id uuid NOT NULL,
    scope text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    answer json NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, scope, key)
);
CREATE INDEX answers_by_age ON answers (at);
COMMENT ON TABLE answers IS 'First answers of idempotent requests, written in the transaction of what they caused.';

CREATE TABLE runs (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    mission_id uuid NOT NULL,
    agent_id uuid,
    task_id uuid,
    owner text NOT NULL,
    lease_until timestamptz NOT NULL,
    backend text NOT NULL,
    sandbox text,
    partial text NOT NULL DEFAULT '',
    partial_after bigint NOT NULL DEFAULT 0,
    used json NOT NULL DEFAULT '{}',
    usage json NOT NULL DEFAULT '{}',
    cost_cents integer NOT NULL DEFAULT 0,
    session_id text,
    session_at timestamptz,
    session_cost double precision NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    outcome text,
    PRIMARY KEY (workspace_id, id)
) WITH (fillfactor = 50);
CREATE INDEX runs_open ON runs (lease_until) WHERE ended_at IS NULL;
CREATE INDEX runs_sessions ON runs (workspace_id, mission_id, started_at) WHERE session_id IS NOT NULL;

CREATE TABLE spaces (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    path text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, name)
);

CREATE TABLE crews (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    description text,
    color text,
    icon text,
    avatar_style text,
    escalation_config json,
    max_parallel_tasks integer NOT NULL,
    mission_timeout_seconds integer NOT NULL,
    auto_accept_review boolean NOT NULL,
    permission_policy text,
    space_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (workspace_id, id)
);
CREATE UNIQUE INDEX crews_slug ON crews (workspace_id, slug) WHERE deleted_at IS NULL;
CREATE INDEX crews_listed ON crews (workspace_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;

CREATE TABLE agents (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    crew_id uuid,
    name text NOT NULL,
    slug text NOT NULL,
    description text,
    role_title text,
    agent_role text NOT NULL CHECK (agent_role IN ('AGENT', 'LEAD')),
    lead_mode text CHECK (lead_mode IN ('active', 'passive')),
    cli_adapter text NOT NULL,
    llm_provider text,
    model text,
    system_prompt text,
    avatar_seed text,
    avatar_style text,
    tool_profile text NOT NULL,
    timeout_seconds integer NOT NULL,
    memory_enabled boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (workspace_id, id),
    CHECK (agent_role <> 'LEAD' OR crew_id IS NOT NULL)
);
CREATE UNIQUE INDEX agents_slug ON agents (workspace_id, slug) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX agents_lead ON agents (workspace_id, crew_id) WHERE agent_role = 'LEAD' AND deleted_at IS NULL;
CREATE INDEX agents_of_crew ON agents (workspace_id, crew_id) WHERE deleted_at IS NULL;

CREATE TABLE users (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    email text,
    created_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz
);
CREATE INDEX users_email ON users (email) WHERE email IS NOT NULL;

CREATE TABLE members (
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MANAGER', 'MEMBER', 'VIEWER')),
    PRIMARY KEY (workspace_id, user_id)
);
CREATE INDEX members_of_user ON members (user_id);

CREATE TABLE tokens (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    name text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    scopes text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX tokens_of_user ON tokens (user_id);

CREATE TABLE current_missions (
    workspace_id uuid NOT NULL,
    user_id uuid NOT NULL,
    mission_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, user_id)
);

-- Appends a batch: stream heads first, then, last because it is the hot row, the workspace's head.
-- Arrays of streams run in parallel, and so do those of events, whose `places` tell the stream among the moved ones
-- (from 1). An array in which nothing stands may be null; no metadata is '{}'. Gives the position before the first event.
-- With `expected_heads` it locks the streams itself and refuses (40001) unless all are open and have just these heads:
-- sent twice it is stored once. Without, the caller has locked them.
CREATE FUNCTION append_events(
    of_workspace uuid, happened_at timestamptz,
    moved_streams uuid[], expected_heads bigint[], new_heads bigint[], new_versions bigint[], new_counts text[], closed_streams uuid[],
    places integer[], sequences bigint[], types text[], actors text[], crew_ids uuid[], team_ids uuid[],
    event_ids text[], tool_call_ids text[], tool_names text[], dedupe_keys text[], contents text[], metadatas text[],
    OUT base bigint
) LANGUAGE plpgsql AS $$
DECLARE
    added bigint := cardinality(places);
    moved bigint;
BEGIN
    IF expected_heads IS NOT NULL THEN
        PERFORM FROM streams WHERE workspace_id = of_workspace AND id = ANY(moved_streams) ORDER BY id FOR UPDATE;
    END IF;
    UPDATE streams AS s
       SET head = m.head, state_version = m.version, at = happened_at, counts = m.counts::json,
           closed = s.closed OR s.id = ANY(closed_streams)
      FROM unnest(moved_streams, expected_heads, new_heads, new_versions, new_counts)
           AS m (id, expected, head, version, counts)
     WHERE s.workspace_id = of_workspace AND s.id = m.id
       AND (expected_heads IS NULL OR s.head = m.expected AND NOT s.closed);
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved < cardinality(moved_streams) THEN
        RAISE EXCEPTION 'a stream has moved on' USING ERRCODE = 'serialization_failure';
    END IF;
    UPDATE workspace_heads AS h SET head = h.head + added
     WHERE h.workspace_id = of_workspace RETURNING h.head - added INTO STRICT base;
    INSERT INTO events (workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id,
                        event_id, tool_call_id, tool_name, dedupe_key, content, metadata)
    SELECT of_workspace, base + n.number, moved_streams[n.place], n.sequence, n.type, happened_at, n.actor, n.crew_id,
           n.team_id, n.event_id, n.tool_call_id, n.tool_name, n.dedupe_key, n.content, coalesce(n.metadata, '{}')::json
      FROM unnest(places, sequences, types, actors, crew_ids, team_ids, event_ids, tool_call_ids, tool_names,
                  dedupe_keys, contents, metadatas) WITH ORDINALITY
           AS n (place, sequence, type, actor, crew_id, team_id, event_id, tool_call_id, tool_name,
                 dedupe_key, content, metadata, number);
END
$$;

-- The first sequence of a stream whose position is above `after`: both grow together, so halving finds it in
-- about log2(head) index look-ups, without an index of its own to be maintained by every append.
CREATE FUNCTION first_sequence_after(of_workspace uuid, of_stream uuid, after bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint;
    high bigint;
    middle bigint;
    found bigint;
BEGIN
    SELECT min(sequence), max(sequence) + 1 INTO low, high
      FROM events WHERE workspace_id = of_workspace AND stream_id = of_stream;
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT position INTO found FROM events
         WHERE workspace_id = of_workspace AND stream_id = of_stream AND sequence = middle;
        IF found > after THEN high := middle; ELSE low := middle + 1; END IF;
    END LOOP;
    RETURN low;
END
$$;

-- The last position of a workspace whose event is older than a moment, or its floor: `at` grows with the position
-- (but for a batch that was sent again: it keeps the time of its first try).
CREATE FUNCTION last_position_before(of_workspace uuid, moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint;
    high bigint;
    middle bigint;
    found timestamptz;
BEGIN
    SELECT coalesce(min(position), 1), coalesce(max(position), 0) + 1 INTO low, high
      FROM events WHERE workspace_id = of_workspace;
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT at INTO found FROM events WHERE workspace_id = of_workspace AND position = middle;
        IF found >= moment THEN high := middle; ELSE low := middle + 1; END IF;
    END LOOP;
    RETURN low - 1;
END
$$;
