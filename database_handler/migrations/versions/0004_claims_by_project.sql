-- 0004_claims_by_project
-- Work of one project is claimed by an index of its own, however much waits in others.
-- reversible: yes   proof: up ok, down ok, data kept
-- locks: translations SHARE UPDATE EXCLUSIVE (no rewrite, scan); videos SHARE UPDATE EXCLUSIVE (no rewrite, scan)
-- migrate: up, no transaction
CREATE INDEX CONCURRENTLY translations_status_project_id_lease_until_id_idx ON translations USING btree (status, project_id, lease_until, id);
CREATE INDEX CONCURRENTLY videos_status_project_id_lease_until_id_idx ON videos USING btree (status, project_id, lease_until, id);
-- migrate: verify
SELECT 1 / count(*) FROM pg_index WHERE indexrelid = 'translations_status_project_id_lease_until_id_idx'::regclass AND indisvalid;
SELECT 1 / count(*) FROM pg_index WHERE indexrelid = 'videos_status_project_id_lease_until_id_idx'::regclass AND indisvalid;
-- migrate: down, no transaction
DROP INDEX CONCURRENTLY translations_status_project_id_lease_until_id_idx;
DROP INDEX CONCURRENTLY videos_status_project_id_lease_until_id_idx;
