-- Whoever approved a batch does not write its file: also a batch that beat prepared passes two people.
CREATE OR REPLACE FUNCTION settlement_export_fits() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    approver text;
BEGIN
    PERFORM settlement_lock_batch(NEW.batch_id);
    SELECT approved_by INTO approver FROM settlement_payoutapproval WHERE batch_id = NEW.batch_id;
    IF approver IS NULL
       OR EXISTS (SELECT FROM settlement_payoutcancellation c WHERE c.batch_id = NEW.batch_id) THEN
        PERFORM settlement_refuse(format('batch %s is not approved, or is cancelled',
            NEW.batch_id));
    END IF;
    IF btrim(NEW.exported_by) = '' OR settlement_same_official(approver, NEW.exported_by) THEN
        PERFORM settlement_refuse(format('batch %s was approved by %s: another official exports it',
            NEW.batch_id, approver));
    END IF;
    IF NEW.sha256 <> encode(sha256(NEW.content), 'hex') THEN
        PERFORM settlement_refuse('the hash is not of the file');
    END IF;
    RETURN NEW;
END $$;
