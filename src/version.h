/*
 * version.h — what this build is.
 */
#pragma once

#define MINIDB_VERSION "0.1.0"
#define REDIS_COMPAT_VERSION "7.2.4"

#ifndef MINIDB_REVISION
#define MINIDB_REVISION "unknown"
#endif
