-- The one way into the journal: locks, entries, postings and running balances in one round trip.
--
-- Locks, in this order, all held until the transaction ends: the day (shared; a day's close takes
-- it alone), then beneficiaries by name, then assets by name. Each statement of a volatile function sees, under READ
-- COMMITTED, all that was committed before it began: so what is read after the locks is the truth.
CREATE FUNCTION settlement_lock_beneficiaries(names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4, 1);
    PERFORM pg_advisory_xact_lock(hashtextextended(one.name, 3)) FROM (
        SELECT DISTINCT name FROM unnest(names) AS name WHERE name <> '' ORDER BY name
    ) one;
END $$;

CREATE FUNCTION settlement_lock_assets(names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4, 1);
    PERFORM pg_advisory_xact_lock(hashtextextended(one.name, 5)) FROM (
        SELECT DISTINCT name FROM unnest(names) AS name ORDER BY name
    ) one;
END $$;

CREATE FUNCTION settlement_first_open_moment() RETURNS timestamptz LANGUAGE sql AS $$
    SELECT coalesce(max(day + 1)::timestamp AT TIME ZONE 'Asia/Almaty', '-infinity')
    FROM settlement_closedday
$$;

CREATE FUNCTION settlement_post(
    kinds text[], sources text[], subjects text[], demands text[], quotes uuid[], reversed bigint[],
    memos text[], moments timestamptz[],
    line_entries integer[], line_codes text[], line_kinds text[], line_owners text[],
    line_tiyn bigint[], line_assets text[], line_units numeric[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    first_open timestamptz;
    ids bigint[];
BEGIN
    PERFORM settlement_lock_beneficiaries(line_owners);
    first_open := settlement_first_open_moment();
    INSERT INTO settlement_account (code, kind, beneficiary)
        SELECT DISTINCT l.code, l.kind, l.owner
        FROM unnest(line_codes, line_kinds, line_owners) AS l(code, kind, owner)
        WHERE NOT EXISTS (SELECT FROM settlement_account a
                          WHERE a.code = l.code AND a.beneficiary = l.owner)
        ORDER BY 1, 3
        ON CONFLICT DO NOTHING;
    WITH posted AS (
        INSERT INTO settlement_journalentry
            (kind, source, subject, demand, quote_id, reverses_id, memo, occurred_at, effective_at)
        SELECT e.kind, e.source, e.subject, e.demand, e.quote, e.reverses, e.memo, e.moment,
               least(greatest(e.moment, first_open), clock_timestamp())
        FROM unnest(kinds, sources, subjects, demands, quotes, reversed, memos, moments)
            WITH ORDINALITY
            AS e(kind, source, subject, demand, quote, reverses, memo, moment, place)
        ORDER BY e.place
        RETURNING id
    )
    SELECT array_agg(id ORDER BY id) INTO ids FROM posted;
    INSERT INTO settlement_posting
        (entry_id, account_id, amount_tiyn, asset, quantity, balance_tiyn)
    SELECT ids[l.entry], a.id, l.tiyn, l.asset, l.units,
           CASE WHEN l.owner <> '' THEN
               coalesce((SELECT p.balance_tiyn FROM settlement_posting p
                         WHERE p.account_id = a.id ORDER BY p.id DESC LIMIT 1), 0)
               + sum(l.tiyn) OVER (PARTITION BY a.id ORDER BY l.place)
           END
    FROM unnest(line_entries, line_codes, line_owners, line_tiyn, line_assets, line_units)
        WITH ORDINALITY AS l(entry, code, owner, tiyn, asset, units, place)
    JOIN settlement_account a ON a.code = l.code AND a.beneficiary = l.owner
    ORDER BY l.place;
    RETURN ids;
END $$;
