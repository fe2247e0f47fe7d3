/*
 * zstd without the formats from before its version 0.8 (2016): Kafka has zstd since 2018, and the store never had another.
 *
 * cross/build.sh has every file of C begin with this one. zstd-sys switches the old formats on, by a feature that rdkafka-sys asks
 * for and nobody can take back.
 */
#ifdef ZSTD_LEGACY_SUPPORT
#undef ZSTD_LEGACY_SUPPORT
#define ZSTD_LEGACY_SUPPORT 0
#endif
