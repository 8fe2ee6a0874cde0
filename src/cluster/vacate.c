/*
 * vacate.c — a replica that its group has removed forgets everything, and stays harmless.
 *
 * A removed replica is not told: the leader sends to members.  So it asks (the driver does), and a
 * leader L answers "you are gone, as of (T, n)" when, in its term T, entry n of that term is
 * committed and its newest configuration K is committed, not joint, and does not name the asker
 * (raft_is_gone).  The answer may arrive at any later time, and L may be deposed by then.
 *
 * When is it believed?  K is committed for ever; what could be wrong is that a later configuration
 * has taken the replica in again, and that it has acknowledged something since.  Then its log, or
 * its snapshot, holds that configuration, at a position (term, index) behind (T, n): either L
 * appended it later (same term, index > n), or a leader of a later term did.  So VACATE is refused
 * when our newest configuration stands behind (T, n).  One at a lower index is older than n; one at
 * a higher index but of a lower term is not in L's log, and as n is committed it never will be in
 * any leader's.
 *
 * What is lost?  Acknowledgements that made something committed under earlier configurations.  Say
 * {A, B, C} became {A, B, D}, and B was away: with an empty log C would elect a stale B under the
 * old configuration, whose majority committed the change with C's help.  So a vacated replica is a
 * suspect (README.md): it keeps term and vote, but neither votes nor counts, across restarts, until
 * a leader that has taken it in again has shown it everything.  Whoever may still be asked for a
 * vote under an old configuration either remembers what it acknowledged, or does not answer.
 *
 * The term rises to L's: a leader deposed before K was committed cannot cure it.
 *
 * Read next: README.md (suspects), docs/decisions/0007-hosting.md.
 */
#include "cluster/raft_internal.h"

#include "base/assert.h"

bool raft_is_gone(const struct raft *raft, uint64_t node, uint64_t *out_index)
{
    const struct raft_config *config = &raft->config.config;
    bool is_settled = raft_config_pending(raft) == 0 && !raft_config_is_joint(config);
    if (raft->role != RAFT_LEADER || !raft_has_committed_in_term(raft) ||
        (!is_settled && !MUTANT(MUT_GONE_UNCOMMITTED)) || raft_config_find(config, node) >= 0) {
        return false;
    }
    *out_index = raft->commit_index;
    return true;
}

/* Our newest configuration stands behind (term, index). */
static bool has_newer_config(const struct raft *raft, uint64_t term, uint64_t index)
{
    uint64_t own_term = 0;
    if (raft->config.index <= index || MUTANT(MUT_GONE_STALE)) {
        return false;
    }
    return raft_log_term(&raft->log, raft->config.index, &own_term) != RAFT_LOG_FOUND ||
           own_term >= term;
}

enum raft_result raft_vacate(struct raft *raft, uint64_t term, uint64_t index,
                             const struct raft_config *config)
{
    ASSERT(raft_config_is_valid(config));
    ASSERT(!raft_self_votes_in(raft, config));
    if (raft->role == RAFT_LEADER || raft->installing_index != 0 ||
        has_newer_config(raft, term, index)) {
        return RAFT_STALE;
    }
    raft_become_follower(raft, term > raft->term ? term : raft->term, /* leader= */ 0);
    raft_log_clear(&raft->log);
    raft->truncated_id = raft->persist_id + 1;
    raft->snapshot = (struct raft_snapshot){ .config = *config };
    raft->commit_index = 0;
    raft_config_install(raft, config, /* index= */ 0);
    raft->verified_index = 0;
    raft->acked_index = 0;
    raft->owes_ack = false;
    raft->owes_vote = false;
    raft->is_suspect = !MUTANT(MUT_VACANT_VOTES);
    raft->is_cured = false;
    raft->suspect_target_index = 0;
    raft->must_reset_log = true;
    return RAFT_OK;
}
