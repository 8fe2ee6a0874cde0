# Test targets.  `make unit` builds and runs the unit tests of one VARIANT.

# The programs' own files (src/*.c) are tested against everything.
ROOT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/root/*_test.c))
UNIT_TESTS += $(ROOT_TESTS)
$(ROOT_TESTS): $(B)/tests/root/%: tests/unit/root/%.c tests/unit/test.h $(root) $(libs) $(B)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -Isrc -Itests/unit -MMD -MP $< $(root) $(libs) $(LDFLAGS) $(LDLIBS) -o $@

.PHONY: unit unit-build purity
unit-build: $(UNIT_TESTS)          ## build the unit tests (VARIANT=release|debug|asan|tsan)
unit: $(UNIT_TESTS)                ## run the unit tests
	@fail=0; for t in $(UNIT_TESTS); do $$t || fail=1; done; exit $$fail

# Pure layers may reference no libc symbol beyond these (no clock, no I/O, no heap, no rand).
PURE    := cluster sharding repair chaos
LIBC_OK := memcpy|memmove|memset|memcmp|strlen|abort|panic_fail|__stack_chk_fail|__memcpy_chk|__memmove_chk|__memset_chk
purity: $(PURE:%=$(B)/lib%.a) $(B)/libbase.a      ## prove that the pure layers are pure
	@nm --defined-only $(patsubst %,$(B)/lib%.a,$(PURE)) $(filter-out %/mem.o %/buffer.o,$(objs_base)) \
	  | awk 'NF==3{print $$3}' | sort -u > $(B)/have; \
	for l in $(PURE); do \
	  nm -u $(B)/lib$$l.a | awk '/ U /{print $$2}' | sort -u > $(B)/$$l.want; \
	  if comm -23 $(B)/$$l.want $(B)/have | grep -vxE '$(LIBC_OK)' | sed "s/^/impure symbol in $$l: /" | grep .; then exit 1; fi; \
	done; echo "pure: $(PURE)"
