-- name: erasable
-- Deleted missions of any workspace whose content still stands; at most $1, the longest deleted first.
SELECT m.workspace_id, m.id, s.head
  FROM missions AS m JOIN streams AS s ON s.workspace_id = m.workspace_id AND s.id = m.id
 WHERE m.deleted_at IS NOT NULL AND NOT m.erased ORDER BY m.deleted_at LIMIT $1;

-- name: erase_events
-- Empties events of a deleted mission ($2 of workspace $1) in place, with sequences in ($3, $4]: their numbers stay.
UPDATE events SET type = 'erased', content = '', metadata = '{}', actor = NULL, event_id = NULL, tool_call_id = NULL,
       tool_name = NULL, dedupe_key = NULL
 WHERE workspace_id = $1 AND stream_id = $2 AND sequence > $3 AND sequence <= $4;

-- name: erase_mission
-- Empties the row of a deleted mission ($2 of workspace $1), which marks it as erased. What it has spent stays: it counts
-- against the budgets above it.
UPDATE missions SET title = NULL, erased = true,
       state = json_build_object('spent', state -> 'spent', 'spent_below', state -> 'spent_below')
 WHERE workspace_id = $1 AND id = $2;

-- name: erase_tasks
-- Removes the tasks of a deleted mission ($2 of workspace $1).
DELETE FROM tasks WHERE workspace_id = $1 AND mission_id = $2;

-- name: erase_runs
-- Forgets the runs of a deleted mission ($2 of workspace $1).
DELETE FROM runs WHERE workspace_id = $1 AND mission_id = $2;

-- name: forget_answers
-- Removes first answers older than $1 days, $2 at a time.
DELETE FROM answers WHERE (workspace_id, scope, key) IN (
    SELECT workspace_id, scope, key FROM answers WHERE at < now() - make_interval(days => $1) ORDER BY at LIMIT $2);

-- name: removable
-- Up to which position each workspace's events may go: older than $1 days, and before the first event of any mission
-- that has not ended. Only workspaces where that is above the floor.
SELECT w.id AS workspace_id, w.floor, least(aged.position, alive.position - 1) AS through
  FROM workspaces AS w
 CROSS JOIN LATERAL (SELECT last_position_before(w.id, now() - make_interval(days => $1)) AS position) AS aged
 CROSS JOIN LATERAL (SELECT coalesce(min(e.position), 9223372036854775807) AS position
                       FROM missions AS m
                      CROSS JOIN LATERAL (SELECT position FROM events
                                           WHERE workspace_id = m.workspace_id AND stream_id = m.id
                                           ORDER BY sequence LIMIT 1) AS e
                      WHERE m.workspace_id = w.id AND m.deleted_at IS NULL AND m.phase IN ('pending', 'active')
                    ) AS alive
 WHERE least(aged.position, alive.position - 1) > w.floor;

-- name: raise_floor
-- Moves the floor of a workspace ($1) to a position ($2); readers below it are reset from now on.
UPDATE workspaces SET floor = $2 WHERE id = $1 AND floor < $2;

-- name: remove
-- Removes events of a workspace ($1) at or below its floor, $2 at a time.
DELETE FROM events WHERE workspace_id = $1 AND position IN (
    SELECT e.position FROM events AS e JOIN workspaces AS w ON w.id = e.workspace_id
     WHERE e.workspace_id = $1 AND e.position <= w.floor ORDER BY e.position LIMIT $2);
