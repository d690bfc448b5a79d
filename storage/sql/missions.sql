-- name: one
-- A mission ($2 of workspace $1) with its stream; a deleted one is not found.
SELECT m.workspace_id, m.id, m.kind, m.status, m.phase, m.title, m.crew_id, m.parent_id, m.run_id, m.queued,
       m.state_version, m.state, m.created_at, m.updated_at, s.head, s.counts, s.at, p.name AS space_name
  FROM missions AS m JOIN streams AS s ON s.workspace_id = m.workspace_id AND s.id = m.id
  LEFT JOIN spaces AS p ON p.workspace_id = m.workspace_id AND p.id = (m.state ->> 'space_id')::uuid
 WHERE m.workspace_id = $1 AND m.id = $2 AND m.deleted_at IS NULL;

-- name: listed
-- Missions of a workspace ($1), newest change first; $2 phase (null: any), $3 limit, $4 offset.
SELECT m.workspace_id, m.id, m.kind, m.status, m.phase, m.title, m.crew_id, m.parent_id, m.run_id, m.queued,
       m.state_version, m.state, m.created_at, m.updated_at, s.head, s.counts, s.at, p.name AS space_name
  FROM (SELECT * FROM missions
         WHERE workspace_id = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR phase = $2)
         ORDER BY updated_second DESC, updated_at DESC, id DESC LIMIT $3 OFFSET $4) AS m
  JOIN streams AS s ON s.workspace_id = m.workspace_id AND s.id = m.id
  LEFT JOIN spaces AS p ON p.workspace_id = m.workspace_id AND p.id = (m.state ->> 'space_id')::uuid
 ORDER BY m.updated_at DESC, m.id DESC;

-- name: busy
-- Missions of a workspace ($1) with a turn going on or messages queued.
SELECT m.workspace_id, m.id, m.kind, m.status, m.phase, m.title, m.crew_id, m.parent_id, m.run_id, m.queued,
       m.state_version, m.state, m.created_at, m.updated_at, s.head, s.counts, s.at, p.name AS space_name
  FROM missions AS m JOIN streams AS s ON s.workspace_id = m.workspace_id AND s.id = m.id
  LEFT JOIN spaces AS p ON p.workspace_id = m.workspace_id AND p.id = (m.state ->> 'space_id')::uuid
 WHERE m.workspace_id = $1 AND (m.run_id IS NOT NULL OR m.queued > 0) AND m.deleted_at IS NULL
 ORDER BY m.updated_at, m.id;

-- name: children
-- The child missions of a mission ($2 of workspace $1), oldest first, at most $3.
SELECT m.workspace_id, m.id, m.kind, m.status, m.phase, m.title, m.crew_id, m.parent_id, m.run_id, m.queued,
       m.state_version, m.state, m.created_at, m.updated_at, s.head, s.counts, s.at, p.name AS space_name
  FROM missions AS m JOIN streams AS s ON s.workspace_id = m.workspace_id AND s.id = m.id
  LEFT JOIN spaces AS p ON p.workspace_id = m.workspace_id AND p.id = (m.state ->> 'space_id')::uuid
 WHERE m.workspace_id = $1 AND m.parent_id = $2 AND m.deleted_at IS NULL
 ORDER BY m.created_at, m.id LIMIT $3;

-- name: children_counted
-- The number of child missions of missions ($2 of workspace $1), and of those that completed; only of missions with any.
SELECT parent_id, count(*) AS total, count(*) FILTER (WHERE phase = 'completed') AS done
  FROM missions WHERE workspace_id = $1 AND parent_id = ANY($2::uuid[]) AND deleted_at IS NULL GROUP BY parent_id;

-- name: level
-- The child missions of missions ($2 of workspace $1), at most $3 in all: of each the oldest first.
SELECT m.workspace_id, m.id, m.kind, m.status, m.phase, m.title, m.crew_id, m.parent_id, m.run_id, m.queued,
       m.state_version, m.state, m.created_at, m.updated_at, s.head, s.counts, s.at, NULL AS space_name
  FROM unnest($2::uuid[]) WITH ORDINALITY AS p (id, place)
 CROSS JOIN LATERAL (SELECT * FROM missions
                      WHERE workspace_id = $1 AND parent_id = p.id AND deleted_at IS NULL
                      ORDER BY created_at, id LIMIT $3) AS m
  JOIN streams AS s ON s.workspace_id = m.workspace_id AND s.id = m.id
 ORDER BY p.place, m.created_at, m.id LIMIT $3;

-- name: above
-- The missions above a mission ($2 of workspace $1), the nearest first; deleted ones are passed over.
WITH RECURSIVE up (id, parent_id, level) AS (
    SELECT m.id, m.parent_id, 0 FROM missions AS m WHERE m.workspace_id = $1 AND m.id = $2
    UNION ALL
    SELECT m.id, m.parent_id, up.level + 1
      FROM up CROSS JOIN LATERAL (SELECT id, parent_id FROM missions
                                   WHERE workspace_id = $1 AND id = up.parent_id LIMIT 1) AS m)
SELECT m.workspace_id, m.id, m.kind, m.status, m.phase, m.title, m.crew_id, m.parent_id, m.run_id, m.queued,
       m.state_version, m.state, m.created_at, m.updated_at, m.head, m.counts, m.at, NULL AS space_name
  FROM up CROSS JOIN LATERAL (SELECT a.workspace_id, a.id, a.kind, a.status, a.phase, a.title, a.crew_id, a.parent_id,
                                     a.run_id, a.queued, a.state_version, a.state, a.created_at, a.updated_at,
                                     s.head, s.counts, s.at
                                FROM missions AS a JOIN streams AS s ON s.workspace_id = a.workspace_id AND s.id = a.id
                               WHERE a.workspace_id = $1 AND a.id = up.id AND a.deleted_at IS NULL LIMIT 1) AS m
 WHERE up.level > 0 ORDER BY up.level;

-- name: spent_below
-- What the child missions of a mission ($2 of workspace $1) have spent, each with those below it; deleted ones count too.
SELECT state -> 'spent' AS spent, state -> 'spent_below' AS spent_below
  FROM missions WHERE workspace_id = $1 AND parent_id = $2;

-- name: with_relatives
-- Of missions ($2 of workspace $1) those with tasks, a parent or children, and the missions up to $3 levels above them.
WITH RECURSIVE up (id, parent_id, level) AS (
    SELECT m.id, m.parent_id, 0
      FROM missions AS m JOIN streams AS s ON s.workspace_id = m.workspace_id AND s.id = m.id
     WHERE m.workspace_id = $1 AND m.id = ANY($2::uuid[]) AND m.deleted_at IS NULL
       AND (m.parent_id IS NOT NULL OR s.counts ->> 'task_created' IS NOT NULL
            OR EXISTS (SELECT FROM missions AS c WHERE c.workspace_id = $1 AND c.parent_id = m.id))
    UNION
    SELECT m.id, m.parent_id, up.level + 1
      FROM up JOIN missions AS m ON m.workspace_id = $1 AND m.id = up.parent_id
     WHERE up.level < $3 AND m.deleted_at IS NULL)
SELECT DISTINCT id FROM up;

-- name: untitled
-- Missions of a workspace ($1) that were never used: no title, no run, no message ever.
SELECT m.id FROM missions AS m JOIN streams AS s ON s.workspace_id = m.workspace_id AND s.id = m.id
 WHERE m.workspace_id = $1 AND m.deleted_at IS NULL AND m.title IS NULL AND m.run_id IS NULL AND m.queued = 0
   AND s.counts ->> 'user_message' IS NULL;

-- name: conversation_start
-- The sequence from which the newest $3 conversation rows of a stream ($2 of workspace $1) begin.
SELECT min(sequence) FROM (
    SELECT sequence FROM events
     WHERE workspace_id = $1 AND stream_id = $2
       AND type IN ('user_message', 'assistant_message', 'assistant_message_canonical')
     ORDER BY sequence DESC LIMIT $3) AS newest;

-- name: current
-- The mission that a user ($2) has open in a workspace ($1).
SELECT mission_id FROM current_missions WHERE workspace_id = $1 AND user_id = $2;

-- name: set_current
-- Opens a mission ($3) for a user ($2) in a workspace ($1).
INSERT INTO current_missions (workspace_id, user_id, mission_id) VALUES ($1, $2, $3)
ON CONFLICT (workspace_id, user_id) DO UPDATE SET mission_id = excluded.mission_id;
