-- name: mission
-- The workspace, of those that a user ($1) is a member of, in which a mission ($2) is.
SELECT r.workspace_id FROM members AS r JOIN missions AS m ON m.workspace_id = r.workspace_id AND m.id = $2
 WHERE r.user_id = $1 AND m.deleted_at IS NULL;

-- name: crew
-- The workspace, of those that a user ($1) is a member of, in which a crew ($2) is.
SELECT r.workspace_id FROM members AS r JOIN crews AS c ON c.workspace_id = r.workspace_id AND c.id = $2
 WHERE r.user_id = $1 AND c.deleted_at IS NULL;

-- name: agent
-- The workspace, of those that a user ($1) is a member of, in which an agent ($2) is.
SELECT r.workspace_id FROM members AS r JOIN agents AS a ON a.workspace_id = r.workspace_id AND a.id = $2
 WHERE r.user_id = $1 AND a.deleted_at IS NULL;
