-- name: create
-- Makes a workspace ($1 id, $2 slug, $3 name, $4 epoch) with its head and its own stream.
WITH made AS (INSERT INTO workspaces (id, slug, name, epoch) VALUES ($1, $2, $3, $4) RETURNING id),
     headed AS (INSERT INTO workspace_heads (workspace_id) SELECT id FROM made)
INSERT INTO streams (workspace_id, id) SELECT id, id FROM made;

-- name: all
-- Every workspace, oldest first.
SELECT w.id, w.slug, w.name, w.epoch, w.floor, w.created_at, h.head
  FROM workspaces AS w JOIN workspace_heads AS h ON h.workspace_id = w.id ORDER BY w.created_at, w.id;

-- name: renew_epochs
-- Gives every workspace a new epoch, made of its id and a seed ($1), so that older cursors are recognised.
UPDATE workspaces SET epoch = substr(md5(id::text || $1::text), 1, 16);

-- name: history
-- Which history this PostgreSQL tells: its system identifier and its timeline.
SELECT s.system_identifier::text AS system_identifier, c.timeline_id::bigint AS timeline_id
  FROM pg_control_system() AS s, pg_control_checkpoint() AS c;

-- name: known_history
-- The history that the epochs were made for.
SELECT system_identifier, timeline_id FROM instance;

-- name: remember_history
-- Stores the history ($1 system identifier, $2 timeline) that the epochs are made for.
INSERT INTO instance (system_identifier, timeline_id) VALUES ($1, $2)
ON CONFLICT (only_row) DO UPDATE SET system_identifier = excluded.system_identifier, timeline_id = excluded.timeline_id;

-- name: safety
-- The settings without which a COMMIT is no promise.
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit');

-- name: ping
-- Answers.
SELECT 1;
