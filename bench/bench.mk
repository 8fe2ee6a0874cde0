# Benchmarks of single parts, not run by the tests: make -f Makefile -f bench/bench.mk kv-bench
.PHONY: kv-bench
kv-bench: $(B)/bench/kv_bench     ## bytes a key and nanoseconds an operation of the keyspace
	$<
$(B)/bench/%: bench/%.c $(call link,storage) $(B)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -I$(B)/inc/storage -MMD -MP $< $(call link,storage) $(LDFLAGS) $(LDLIBS) -o $@
