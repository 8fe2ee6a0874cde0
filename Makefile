# minidb — front door.  `make help` lists every target.
#
# The layer table below IS the architecture: a layer can include only the layers on its right-hand
# side (a forbidden #include does not compile).  `make purity` proves that the pure layers call
# neither clock, nor I/O, nor heap, nor randomness.

deps_base     :=
deps_chaos    := base
deps_io       := chaos base
deps_storage  := io base
deps_network  := io base
deps_cluster  := base
deps_sharding := base
deps_repair   := base
deps_command  := storage network base
LAYERS        := command repair sharding cluster network storage io chaos base
need           = $(sort $(deps_$1) $(foreach d,$(deps_$1),$(call need,$d)))
link           = $(patsubst %,$(B)/lib%.a,$(filter $1 $(call need,$1),$(LAYERS)))

# ── variants ────────────────────────────────────────────────────────────────────────────────────
VARIANT     ?= release
opt_debug   := -Og -g3 -DMINIDB_SLOW_CHECKS
opt_release := -O2 -g -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection
opt_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -DMINIDB_SLOW_CHECKS -DMINIDB_LIBC_MALLOC
opt_tsan    := -O1 -g -fsanitize=thread -DMINIDB_LIBC_MALLOC
opt_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -DMINIDB_SLOW_CHECKS -DMINIDB_LIBC_MALLOC
ifndef opt_$(VARIANT)
$(error unknown VARIANT '$(VARIANT)'; use one of: release debug asan tsan)
endif
ALLOCATOR   ?= jemalloc
ifeq ($(ALLOCATOR),libc)
opt_$(VARIANT) += -DMINIDB_LIBC_MALLOC
endif

CC     ?= cc
ifeq ($(origin CC),default)
CC     := gcc
endif
WARN   := -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
          -Wundef -Wvla -Wformat=2 -Wimplicit-fallthrough -Wpointer-arith -Wwrite-strings \
          -Wswitch-enum -Wcast-qual -Wnull-dereference
ifeq ($(findstring clang,$(CC)),)
WARN   += -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Warith-conversion
endif
REVISION := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
FLAGS  := -std=gnu17 $(opt_$(VARIANT)) $(WARN) -fno-common -fno-strict-aliasing -fno-omit-frame-pointer \
          -ffp-contract=off -D_GNU_SOURCE $(CFLAGS)
LDFLAGS += -Wl,-z,relro,-z,now,--as-needed
LDLIBS  += -ljansson -lcrypto -lpthread -lm
ifeq ($(findstring MINIDB_LIBC_MALLOC,$(FLAGS)),)
LDLIBS  += -ljemalloc
endif
B      := build/$(VARIANT)$(if $(findstring clang,$(CC)),-clang)

SHELL := /bin/bash -eo pipefail
.DEFAULT_GOAL := all
.PHONY: all FORCE
all: build/minidb build/minidb-cli   ## build the optimised build/minidb and build/minidb-cli

# Rebuild everything when compiler or flags change.
$(B)/flags: FORCE
	@mkdir -p $(@D); echo '$(CC) $(FLAGS)' | cmp -s - $@ || echo '$(CC) $(FLAGS)' > $@

# One include farm per layer: it holds links to the layer itself and to what it may include.
define layer
srcs_$(1) := $$(wildcard src/$(1)/*.c)
objs_$(1) := $$(srcs_$(1):%.c=$(B)/%.o)
$(B)/inc/$(1)/.ok: Makefile
	@rm -rf $$(@D) && mkdir -p $$(@D)
	@for d in $(1) $(deps_$(1)); do ln -s $(CURDIR)/src/$$$$d $$(@D)/$$$$d; done; touch $$@
$(B)/src/$(1)/%.o: src/$(1)/%.c $(B)/flags $(B)/inc/$(1)/.ok
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(FLAGS) -I$(B)/inc/$(1) -ffile-prefix-map=$(B)/inc/$(1)/=src/ -MMD -MP -c $$< -o $$@
$(B)/lib$(1).a: $$(objs_$(1))
	@rm -f $$@; $$(AR) rcs $$@ $$^
tests_$(1) := $$(patsubst tests/unit/%.c,$(B)/tests/%,$$(wildcard tests/unit/$(1)/*_test.c))
$$(tests_$(1)): $(B)/tests/%: tests/unit/%.c tests/unit/test.h $(call link,$(1)) $(B)/flags
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(FLAGS) -I$(B)/inc/$(1) -Itests/unit -MMD -MP $$< $(call link,$(1)) $$(LDFLAGS) $$(LDLIBS) -o $$@
UNIT_TESTS += $$(tests_$(1))
OBJS  += $$(objs_$(1))
endef
Q := @
$(foreach l,$(LAYERS),$(eval $(call layer,$(l))))

# Programs: the composition root may use every layer.
libs := $(LAYERS:%=$(B)/lib%.a)
root_srcs := $(filter-out src/main.c src/cli%.c,$(wildcard src/*.c))
root := $(root_srcs:%.c=$(B)/%.o)
cli  := $(patsubst %.c,$(B)/%.o,$(wildcard src/cli*.c))
$(B)/src/%.o: src/%.c $(B)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -DMINIDB_REVISION='"$(REVISION)"' -Isrc -MMD -MP -c $< -o $@
$(B)/minidb: $(B)/src/main.o $(root) $(libs)
	$(Q)$(CC) $(FLAGS) $^ $(LDFLAGS) $(LDLIBS) -o $@
$(B)/minidb-cli: $(cli) $(B)/libbase.a
	$(Q)$(CC) $(FLAGS) $^ $(LDFLAGS) $(LDLIBS) -ledit -o $@

ifeq ($(B),build/release)
build/minidb build/minidb-cli: build/%: build/release/%
	@cp $< $@.new && mv $@.new $@
else
build/minidb build/minidb-cli: FORCE
	@$(MAKE) --no-print-directory VARIANT=release CC=gcc B=build/release $@
endif

include tests/tests.mk

help:                              ## this text
	@awk -F':.*## ' '/^[a-z_.-]+[^:]*:.*## /{split($$1,t," ");printf "  make %-22s %s\n",t[1],$$2}' $(MAKEFILE_LIST)
clean:                             ## remove build/
	rm -rf build
.PHONY: help clean

-include $(OBJS:.o=.d) $(root:.o=.d) $(cli:.o=.d) $(UNIT_TESTS:=.d) $(B)/src/main.d
