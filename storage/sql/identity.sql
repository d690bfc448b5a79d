-- name: lock_bootstrap
-- Lets one bootstrap run at a time, until its transaction ends.
SELECT pg_advisory_xact_lock(7233104772);

-- name: home_workspace
-- The workspace that a server without a choice acts in: default, else the oldest.
SELECT id FROM workspaces ORDER BY slug = 'default' DESC, created_at, id LIMIT 1;

-- name: first_owner
-- The owner that a workspace ($1) has had longest, leaving one user ($2) out.
SELECT u.id, u.name FROM members AS m JOIN users AS u ON u.id = m.user_id
 WHERE m.workspace_id = $1 AND m.role = 'OWNER' AND m.user_id <> $2 AND u.removed_at IS NULL
 ORDER BY u.created_at, u.id LIMIT 1;

-- name: create_user
-- Makes a user ($1 id, $2 name, $3 email or null).
INSERT INTO users (id, name, email) VALUES ($1, $2, $3);

-- name: ensure_user
-- Makes a user ($1 id, $2 name) unless there is one by that id.
INSERT INTO users (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING;

-- name: user_present
-- Gives a row if a user ($1) is there and not removed.
SELECT id FROM users WHERE id = $1 AND removed_at IS NULL;

-- name: user_known_to
-- Gives a row if a user ($1) is there, not removed, and in a workspace with another one ($2).
SELECT u.id FROM users AS u
 WHERE u.id = $1 AND u.removed_at IS NULL
   AND EXISTS (SELECT FROM members AS theirs JOIN members AS mine ON mine.workspace_id = theirs.workspace_id
                WHERE theirs.user_id = $1 AND mine.user_id = $2);

-- name: known_by_email
-- The users with an email ($1) who are in a workspace with a user ($2): those of one workspace ($3) first, then the oldest.
SELECT u.id FROM users AS u
  JOIN members AS theirs ON theirs.user_id = u.id
  JOIN members AS mine ON mine.workspace_id = theirs.workspace_id AND mine.user_id = $2
 WHERE u.email = $1 AND u.removed_at IS NULL
 GROUP BY u.id ORDER BY bool_or(theirs.workspace_id = $3) DESC, u.created_at, u.id LIMIT 1;

-- name: email_unused
-- Gives a row while nobody in a workspace ($1) has an email ($2).
SELECT $2::text AS email WHERE NOT EXISTS (
    SELECT FROM members AS m JOIN users AS u ON u.id = m.user_id
     WHERE m.workspace_id = $1 AND u.email = $2 AND u.removed_at IS NULL);

-- name: claimable
-- Gives a row while a user ($1) may still be claimed: made less than some seconds ($2) ago, without an email, alone but for
-- one ($3), and with no token but unused ones of a name ($4).
SELECT u.id FROM users AS u
 WHERE u.id = $1 AND u.email IS NULL AND u.created_at > now() - make_interval(secs => $2)
   AND NOT EXISTS (SELECT FROM users WHERE id NOT IN ($1, $3))
   AND NOT EXISTS (SELECT FROM tokens WHERE user_id = $1 AND (last_used_at IS NOT NULL OR name <> $4));

-- name: claim
-- Gives a user ($1) their name ($2) and email ($3).
UPDATE users SET name = $2, email = $3 WHERE id = $1;

-- name: remove_user
-- Marks a user ($1) as gone; gives nothing when they were gone already.
UPDATE users SET removed_at = now() WHERE id = $1 AND removed_at IS NULL RETURNING id;

-- name: bump_rights
-- Says that rights in a workspace ($1) have changed. Its row lock also puts such changes in order.
UPDATE workspaces SET rights_version = rights_version + 1 WHERE id = $1 RETURNING rights_version;

-- name: bump_rights_of_user
-- Says that the rights of a user ($1) have changed, in every workspace where they have any.
WITH theirs AS (
    SELECT id FROM workspaces
     WHERE id IN (SELECT workspace_id FROM members WHERE user_id = $1
                  UNION SELECT workspace_id FROM tokens WHERE user_id = $1)
     ORDER BY id FOR NO KEY UPDATE)
UPDATE workspaces AS w SET rights_version = rights_version + 1 FROM theirs WHERE w.id = theirs.id;

-- name: add_member
-- Makes a user ($2) a member of a workspace ($1) with a role ($3).
INSERT INTO members (workspace_id, user_id, role) VALUES ($1, $2, $3);

-- name: ensure_member
-- Gives a user ($2) a role ($3) in a workspace ($1), member already or not.
INSERT INTO members (workspace_id, user_id, role) VALUES ($1, $2, $3)
ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role;

-- name: role_of
-- The role of a user ($2) in a workspace ($1).
SELECT role FROM members WHERE workspace_id = $1 AND user_id = $2;

-- name: set_role
-- Gives a member ($2) of a workspace ($1) another role ($3).
UPDATE members SET role = $3 WHERE workspace_id = $1 AND user_id = $2;

-- name: remove_member
-- Takes a user ($2) out of a workspace ($1).
DELETE FROM members WHERE workspace_id = $1 AND user_id = $2;

-- name: owned_alone
-- A workspace, if any, that a user ($1) is the only owner of.
SELECT m.workspace_id FROM members AS m
 WHERE m.user_id = $1 AND m.role = 'OWNER'
   AND NOT EXISTS (SELECT FROM members AS o JOIN users AS u ON u.id = o.user_id
                    WHERE o.workspace_id = m.workspace_id AND o.user_id <> $1 AND o.role = 'OWNER'
                      AND u.removed_at IS NULL)
 LIMIT 1;

-- name: members
-- The members of a workspace ($1), in the order of their joining the server.
SELECT u.id AS user_id, u.name AS user_name, u.email, w.id AS workspace_id, w.slug, w.name AS workspace_name, m.role,
       w.created_at
  FROM members AS m JOIN users AS u ON u.id = m.user_id JOIN workspaces AS w ON w.id = m.workspace_id
 WHERE m.workspace_id = $1 AND u.removed_at IS NULL ORDER BY u.created_at, u.id;

-- name: memberships
-- The workspaces of a user ($1), newest first.
SELECT u.id AS user_id, u.name AS user_name, u.email, w.id AS workspace_id, w.slug, w.name AS workspace_name, m.role,
       w.created_at
  FROM members AS m JOIN users AS u ON u.id = m.user_id JOIN workspaces AS w ON w.id = m.workspace_id
 WHERE m.user_id = $1 AND u.removed_at IS NULL ORDER BY w.created_at DESC, w.id DESC;

-- name: membership
-- What a user ($1) is in the workspace with an id ($2) or a slug ($3), of which one is null.
SELECT u.id AS user_id, u.name AS user_name, u.email, w.id AS workspace_id, w.slug, w.name AS workspace_name, m.role,
       w.created_at
  FROM members AS m JOIN users AS u ON u.id = m.user_id JOIN workspaces AS w ON w.id = m.workspace_id
 WHERE m.user_id = $1 AND u.removed_at IS NULL AND (w.id = $2 OR w.slug = $3);

-- name: home_membership
-- What a user ($1) is at home: in the workspace default, else in the oldest that they are a member of.
SELECT u.id AS user_id, u.name AS user_name, u.email, w.id AS workspace_id, w.slug, w.name AS workspace_name, m.role,
       w.created_at
  FROM members AS m JOIN users AS u ON u.id = m.user_id JOIN workspaces AS w ON w.id = m.workspace_id
 WHERE m.user_id = $1 AND u.removed_at IS NULL ORDER BY w.slug = 'default' DESC, w.created_at, w.id LIMIT 1;

-- name: create_token
-- Makes a token ($1 id, $2 user, $3 workspace, $4 name, $5 SHA-256, $6 scopes, $7 end of its life or null, $8 now).
INSERT INTO tokens (id, user_id, workspace_id, name, hash, scopes, expires_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id, user_id, workspace_id, name, scopes, created_at, expires_at, last_used_at, revoked_at;

-- name: has_tokens
-- Whether a user ($1) ever had a token.
SELECT EXISTS (SELECT FROM tokens WHERE user_id = $1);

-- name: list_tokens
-- The tokens of a user ($1) that are not revoked, newest first.
SELECT id, user_id, workspace_id, name, scopes, created_at, expires_at, last_used_at, revoked_at
  FROM tokens WHERE user_id = $1 AND revoked_at IS NULL ORDER BY created_at DESC, id DESC;

-- name: owner_of_token
-- Whose a token ($1) is, if it is not revoked.
SELECT user_id FROM tokens WHERE id = $1 AND revoked_at IS NULL;

-- name: revoke_token
-- Ends a token ($1) for good.
UPDATE tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL;

-- name: revoke_tokens_in_workspace
-- Ends the tokens of a user ($2) whose home is a workspace ($1).
UPDATE tokens SET revoked_at = now() WHERE workspace_id = $1 AND user_id = $2 AND revoked_at IS NULL;

-- name: revoke_tokens_of_user
-- Ends all tokens of a user ($1).
UPDATE tokens SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL;

-- name: revoke_tokens_named
-- Ends the tokens of a user ($1) that have a name ($2).
UPDATE tokens SET revoked_at = now() WHERE user_id = $1 AND name = $2 AND revoked_at IS NULL;

-- name: find_by_hash
-- Who holds the token with a SHA-256 ($1), revoked and expired ones too.
SELECT t.id AS token_id, t.user_id, u.name AS user_name, t.workspace_id, m.role, t.scopes, t.expires_at, t.revoked_at,
       u.removed_at
  FROM tokens AS t JOIN users AS u ON u.id = t.user_id
  LEFT JOIN members AS m ON m.workspace_id = t.workspace_id AND m.user_id = t.user_id
 WHERE t.hash = $1;

-- name: find_by_id
-- Who holds a token ($1 id), revoked and expired ones too.
SELECT t.id AS token_id, t.user_id, u.name AS user_name, t.workspace_id, m.role, t.scopes, t.expires_at, t.revoked_at,
       u.removed_at
  FROM tokens AS t JOIN users AS u ON u.id = t.user_id
  LEFT JOIN members AS m ON m.workspace_id = t.workspace_id AND m.user_id = t.user_id
 WHERE t.id = $1;

-- name: touch_token
-- Notes that a token ($1) was used at a time ($2), to about a minute.
UPDATE tokens SET last_used_at = $2
 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $2::timestamptz - interval '55 seconds');
