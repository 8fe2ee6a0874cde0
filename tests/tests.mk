# Targets for developers: tests, checks, fuzzing, a node to try.

PYTHON := /usr/bin/python3
JOBS   := $(shell nproc)

# The programs' own files (src/*.c) are tested against everything; of the client, what is pure.
cli_pure := $(patsubst %,$(B)/src/cli_%.o,resp line print table)
ROOT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/root/*_test.c))
UNIT_TESTS += $(ROOT_TESTS)
$(ROOT_TESTS): $(B)/tests/root/%: tests/unit/root/%.c tests/unit/test.h $(root) $(cli_pure) $(libs) $(B)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -Isrc -Itests/unit -MMD -MP $< $(root) $(cli_pure) $(libs) $(LDFLAGS) $(LDLIBS) -o $@
# These bring all else with them, made up.
$(B)/tests/root/answers_test: root := $(patsubst %,$(B)/src/%.o,answers gather pending meter)
$(B)/tests/root/forward_test: root := $(patsubst %,$(B)/src/%.o,forward forward_leader forward_wire log)

# TESTS_SKIP="a b": without tests/unit/*/a_test and b_test.
UNIT_TESTS := $(filter-out $(foreach t,$(TESTS_SKIP),%/$(t)_test),$(UNIT_TESTS))

.PHONY: run test unit unit-build unit-list purity lint format fuzz fuzz-build fuzz-list fuzz-run

# ── a cluster to try ────────────────────────────────────────────────────────────────────────────
NODES ?= 3
run:                               ## install what is missing, build, start three nodes on ports 7001 ... (NODES=1: one)
	@tools/deps.sh build
	@$(MAKE) --no-print-directory -j$(JOBS) all
ifeq ($(NODES),1)
	@echo "minidb starts on port 7001, data in ./data/node1; Ctrl-C stops it."
	@echo "Talk to it:  build/minidb-cli   or   redis-cli -p 7001"
	@exec build/minidb --port 7001 --data-dir ./data/node1 $(ARGS)
else
	@exec tools/cluster.sh $(NODES) $(ARGS)
endif

# ── tests ───────────────────────────────────────────────────────────────────────────────────────
test:                              ## install what is missing, build and run every test (ONLY="unit e2e")
	@tools/deps.sh test
	@$(PYTHON) tests/run.py $(ONLY)
ifdef LAYERS_ONLY
UNIT_TESTS := $(foreach l,$(LAYERS_ONLY),$(filter $(B)/tests/$l/%,$(UNIT_TESTS)))
endif
unit-build: $(UNIT_TESTS)          ## build the unit tests (VARIANT=release|debug|asan|tsan)
unit: $(UNIT_TESTS)                ## run the unit tests
	@fail=0; for t in $(UNIT_TESTS); do $$t || fail=1; done; exit $$fail
unit-list:
	@printf '%s\n' $(UNIT_TESTS)

.PHONY: mutants
mutants:                           ## prove that the random Raft test finds known bugs (SEEDS=n)
	@SEEDS="$(if $(filter command line environment,$(origin SEEDS)),$(SEEDS))" tests/unit/cluster/mutants.sh

# Pure layers may reference no libc symbol beyond these (no clock, no I/O, no heap, no rand).
PURE    := cluster sharding repair chaos
LIBC_OK := memcpy|memmove|memset|memcmp|strlen|abort|panic_fail|__stack_chk_fail|__memcpy_chk|__memmove_chk|__memset_chk
purity: $(PURE:%=$(B)/lib%.a) $(B)/libbase.a      ## prove that the pure layers are pure
	@nm --defined-only $(patsubst %,$(B)/lib%.a,$(PURE)) $(filter-out %/mem.o %/buffer.o %/hmac.o,$(objs_base)) \
	  | awk 'NF==3{print $$3}' | sort -u > $(B)/have; \
	for l in $(PURE); do \
	  nm -u $(B)/lib$$l.a | awk '/ U /{print $$2}' | sort -u > $(B)/$$l.want; \
	  if comm -23 $(B)/$$l.want $(B)/have | grep -vxE '$(LIBC_OK)' | sed "s/^/impure symbol in $$l: /" | grep .; then exit 1; fi; \
	done; echo "pure: $(PURE)"

# ── style ───────────────────────────────────────────────────────────────────────────────────────
C_FILES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')
lint:                              ## check format and style
	@clang-format --dry-run -Werror $(C_FILES)
	@$(PYTHON) tools/tidy.py
format:                            ## format every file in place
	@clang-format -i $(C_FILES)

# ── fuzzing ─────────────────────────────────────────────────────────────────────────────────────
# tests/fuzz/fuzz_x.c is one program; seeds lie in tests/fuzz/corpus/x, finds go to build/.
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(FUZZERS): $(B)/fuzz/%: tests/fuzz/%.c $(root) $(cli_pure) $(libs) $(B)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -fsanitize=fuzzer -Isrc -MMD -MP $< $(root) $(cli_pure) $(libs) $(LDFLAGS) $(LDLIBS) -o $@
fuzz-build: $(FUZZERS)
fuzz-list:
	@printf '%s\n' $(FUZZERS)
fuzz-run: $(FUZZERS)
	@for f in $(FUZZERS); do \
	  name=$${f##*/fuzz_}; new=$(B)/fuzz/corpus/$$name; seeds=tests/fuzz/corpus/$$name; \
	  mkdir -p $$new; [ -d $$seeds ] || seeds=; echo "fuzzing $$name for $(FUZZ_SECONDS) s"; \
	  $$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=65536 -verbosity=0 \
	      -artifact_prefix=$(B)/fuzz/$$name- $$new $$seeds || exit 1; \
	done
fuzz:                              ## a minute of fuzzing for each tests/fuzz/fuzz_*.c (FUZZ_SECONDS=n)
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=clang -j$(JOBS) fuzz-build
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=clang fuzz-run

-include $(ROOT_TESTS:=.d) $(FUZZERS:=.d)

# ── simulation ──────────────────────────────────────────────────────────────────────────────────
# tests/sim/x_sim.c is one program: whole nodes on the simulated machine, `x_sim FIRST_SEED COUNT`;
# x_test.c is a unit test of what the simulations check with; all other files there are their parts.
SEED  ?= 1
SEEDS ?= 1000
SIMS  := $(patsubst tests/sim/%.c,$(B)/sim/%,$(wildcard tests/sim/*_sim.c))
SIM_TESTS := $(patsubst tests/sim/%.c,$(B)/sim/%,$(wildcard tests/sim/*_test.c))
sim_parts := $(patsubst tests/sim/%.c,$(B)/sim/%.o,\
             $(filter-out %_sim.c %_test.c,$(wildcard tests/sim/*.c tests/sim/invariants/*.c)))
$(sim_parts): $(B)/sim/%.o: tests/sim/%.c $(B)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -Isrc -Itests/sim -MMD -MP -c $< -o $@
$(B)/sim/libsim.a: $(sim_parts)
	@rm -f $@; $(AR) rcs $@ $^
$(SIMS) $(SIM_TESTS): $(B)/sim/%: tests/sim/%.c $(B)/sim/libsim.a $(root) $(libs) $(B)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -Isrc -Itests/sim -MMD -MP $< $(B)/sim/libsim.a $(root) $(libs) $(LDFLAGS) $(LDLIBS) -o $@
.PHONY: sim sim-build sim-list sim-link sim-mutants sim-points bench
sim-build: $(SIMS) $(SIM_TESTS)
sim-list:
	@printf '%s\n' $(SIM_TESTS) $(SIMS)
sim-link:
	@echo $(B)/sim/libsim.a $(root) $(libs)
sim-mutants:                       ## prove that the simulator finds known bugs of whole nodes (SEEDS=n)
	@SEEDS="$(if $(filter command line environment,$(origin SEEDS)),$(SEEDS),300)" tests/sim/mutants.sh
sim-points: $(B)/sim/cluster_sim    ## crash nodes at each named point of a migration (SEED=n)
	@$< $(SEED) --points --quiet
sim: $(SIMS)                       ## simulate crashes and clusters (SEED=first SEEDS=count)
	@for s in $(SIMS); do $$s $(SEED) $(SEEDS) || exit 1; done

# ── chaos ───────────────────────────────────────────────────────────────────────────────────────
KILLS ?= 3
MINUTES ?= 1
.PHONY: chaos chaos-hosts chaos-overload
chaos: all                         ## kill and stop nodes of real clusters under load (KILLS=n ARGS="--only leader")
	@tools/deps.sh test
	@$(PYTHON) tests/chaos/chaos.py --kills $(KILLS) $(ARGS)
chaos-hosts: all                   ## cut the network between three hosts (namespaces; root), each way KILLS times
	@ROUNDS=$(KILLS) $(PYTHON) tests/e2e/test_hosts.py
chaos-overload: all                ## more load than the machine can take: nobody may be taken for dead (MINUTES=n)
	@$(PYTHON) tests/chaos/overload.py --minutes $(MINUTES)

# ── speed ───────────────────────────────────────────────────────────────────────────────────────
bench: all                         ## minidb beside redis-server and etcd: CPU, memory, start, latency, three nodes (ARGS=--quick)
	@tools/deps.sh bench
	@$(PYTHON) bench/bench.py $(ARGS)

-include $(SIMS:=.d) $(SIM_TESTS:=.d) $(sim_parts:.o=.d)
