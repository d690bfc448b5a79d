-- name: positions
-- The first and last position of a workspace ($1) above its floor ($2) and how many there are.
SELECT min(position) AS first, max(position) AS last, count(*) AS count
  FROM events WHERE workspace_id = $1 AND position > $2;

-- name: streams
-- Every stream of a workspace ($1) with its mission's row.
SELECT s.id, s.head, s.state_version AS stream_version, s.closed, s.counts, s.team_id,
       m.kind, m.status, m.phase, m.title, m.crew_id, m.parent_id, m.run_id, m.queued, m.state_version, m.state,
       m.created_at, m.updated_at, m.deleted_at
  FROM streams AS s LEFT JOIN missions AS m ON m.workspace_id = s.workspace_id AND m.id = s.id
 WHERE s.workspace_id = $1 ORDER BY s.id;

-- name: parts
-- The stored parts of a mission ($2 of workspace $1) in their order.
SELECT id, status, number, created_at, updated_at, agent_id, run_id, token_count, estimated_cost, completed_at, state
  FROM tasks WHERE workspace_id = $1 AND mission_id = $2 ORDER BY number;

-- name: events
-- All events of a stream ($2 of workspace $1) above the workspace's floor ($3), in order.
SELECT workspace_id, position, stream_id, sequence, type, at, actor, crew_id, team_id, event_id, tool_call_id,
       tool_name, content, metadata
  FROM events WHERE workspace_id = $1 AND stream_id = $2 AND position > $3 ORDER BY sequence;
