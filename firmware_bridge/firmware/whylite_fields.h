/* How a record is written: by a table of its fields, which says where in a struct each is. Not for users. */
#ifndef WHYLITE_FIELDS_H
#define WHYLITE_FIELDS_H

#include <stddef.h>

#include "whylite_records.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a field stands in the struct that a record is made of, and with it how it is written. */
enum {
  FIXED,    /* the same number always, which is the field's `place` */
  FLAG,     /* bool */
  NUMBER,   /* uint32_t */
  INTEGER,  /* int32_t */
  TICKS,    /* uint64_t */
  BYTES,    /* list of uint8_t */
  TEXTS,    /* list of what begins with a text */
  PLACES,   /* list of uint8_t, */
  CLASSES,  /* and of uint16_t, as numbers */
  TABLE,    /* whylite_ticks */
  SCORES,   /* scores */
  COUNTS,   /* from here on pointers: to a count for each record code, */
  OPTIONAL, /* to uint32_t, */
  REAL,     /* to float, */
  SHAPE,    /* to a whylite_tensor, */
  LABEL,    /* to a text of up to 64 bytes, */
  MESSAGE   /* and of up to 512 */
};

/* Which number of a field a reader takes for granted, so that it is left out. */
enum { UNLESS_MINUS_ONE = -1, UNLESS_ZERO = 0, UNLESS_ONE = 1, ALWAYS = 2 };

typedef struct {
  uint8_t key;
  uint8_t kind;
  int8_t unless;
  uint8_t place; /* bytes from the start of the struct */
} field;

typedef struct {
  const void *first;
  uint32_t count;
  uint32_t step; /* bytes from one to the next, where they are TEXTS */
} list;

typedef struct {
  const whylite_model *model;
  const int8_t *stored;
} scores;

/* A member's place, which does not compile where a byte does not hold it: the division is by zero there. */
#define PLACE(type, member) (uint8_t)(offsetof(type, member) / (offsetof(type, member) <= UINT8_MAX))
/* Send what the struct at `record` has of these fields. */
#define SEND(sender, code, fields, record) \
  whylite_send_fields(sender, code, fields, sizeof(fields) / sizeof(fields)[0], record)

void whylite_send_fields(whylite_sender *sender, whylite_code code, const field *fields, uint32_t count,
                         const void *record);

#ifdef __cplusplus
}
#endif

#endif
