export default {
  props: { items: Array, types: Array, done: Array },
  emits: ["act"],
  template: `
    <ul class="cards" aria-label="Catalogue">
      <li v-for="one in items" :key="one.item" class="card" :class="{done: done.includes(one.item)}">
        <span class="pic" :style="{'--hue': one.hue}" aria-hidden="true">{{ one.letter }}</span>
        <div class="body">
          <h3>{{ one.title }}</h3>
          <p class="meta">{{ one.category }}<span v-if="one.price" class="num"> · {{ one.price }}</span></p>
          <div class="acts">
            <button v-for="kind in types" :key="kind.type" type="button" :data-type="kind.type"
              :aria-label="kind.label + ' ' + one.title"
              @click="$emit('act', {item: one.item, type: kind.type})">{{ kind.label }}</button>
          </div>
        </div>
      </li>
    </ul>`,
};
